// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// What key servers use to answer retrieval requests.
interface ServerKeyRetrievalServiceKeyServerApi {
    event ServerKeyRetrievalRequested(bytes32 serverKeyId);

    function getServerKeyRetrievalRequest(uint256 index) external view returns (bytes32 serverKeyId);

    function isServerKeyRetrievalResponseRequired(bytes32 serverKeyId, address keyServer)
        external
        view
        returns (bool);

    function serverKeyRetrievalError(bytes32 serverKeyId) external;

    function serverKeyRetrievalRequestsCount() external view returns (uint256);

    function serverKeyRetrieved(bytes32 serverKeyId, bytes calldata serverKeyPublic, uint8 threshold)
        external;
}
