// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ACLStorage} from "contracts/interfaces/ACLStorage.sol";
import {ERC165Query, IERC165} from "contracts/permissions/ERC165Query.sol";
import {Ownable} from "contracts/permissions/Ownable.sol";

/// A fixed address for nodes to ask; its owner chooses which permission contract answers.
contract PermissioningRelay is Ownable, ACLStorage, IERC165 {
    event NewPermissioningContract(address indexed newContractAddress);
    event NewERC165Query(address indexed newContractAddress);

    error NotAPermissionContract();
    error QueryIsZero();

    ERC165Query public erc165Query;
    ACLStorage public permissioningContract;
    address[] public oldPermissioningContracts;

    constructor(address _erc165Query, address _permissioningContract) {
        _useQuery(_erc165Query);
        _relayTo(_permissioningContract);
    }

    function checkPermissions(address user, bytes32 document) external view returns (bool) {
        return permissioningContract.checkPermissions(user, document);
    }

    /// Both setters return the address that was used before.
    function setPermissioningContract(address _newContract) external onlyOwner returns (address) {
        address old = address(permissioningContract);
        _relayTo(_newContract);
        oldPermissioningContracts.push(old);
        return old;
    }

    function setERC165Query(address _newContract) external onlyOwner returns (address) {
        address old = address(erc165Query);
        _useQuery(_newContract);
        return old;
    }

    function supportsInterface(bytes4 interfaceId) external pure returns (bool) {
        return interfaceId == type(IERC165).interfaceId || interfaceId == type(ACLStorage).interfaceId
            || interfaceId == OWNABLE_INTERFACE;
    }

    function _useQuery(address query) private {
        if (query == address(0)) revert QueryIsZero();
        erc165Query = ERC165Query(query);
        emit NewERC165Query(query);
    }

    function _relayTo(address target) private {
        if (
            target == address(this) || target == address(permissioningContract)
                || !erc165Query.doesContractImplementInterface(target, type(ACLStorage).interfaceId)
        ) revert NotAPermissionContract();
        permissioningContract = ACLStorage(target);
        emit NewPermissioningContract(target);
    }
}
